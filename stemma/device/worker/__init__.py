"""One device, one rank: turns a StepPlan into tokens."""
