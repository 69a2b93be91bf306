"""One replica: control and device take turns."""
