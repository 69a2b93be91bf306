"""Reference bodies in plain torch; a row's bits never depend on the rows around it."""
