"""The scorecard: what the captions claim, beside what was measured. Computes, draws nothing."""
