"""A client that measures servers: workloads, timelines, numbers. It knows no engine, ours included."""
