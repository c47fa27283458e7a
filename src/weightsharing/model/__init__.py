"""What a task, a network and its prior are; the forward pass; the sign symmetry."""
