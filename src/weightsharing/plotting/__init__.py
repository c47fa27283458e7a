"""Drawing: reads measures, computes nothing."""
