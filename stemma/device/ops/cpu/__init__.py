"""Native bodies in C++, built at first use for the instruction set that the processor has."""
