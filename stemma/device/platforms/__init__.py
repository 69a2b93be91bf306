"""Where tensors live and work is queued: one small protocol, a body for each kind of device."""
