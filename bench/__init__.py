"""What a step, an effective sample and a solution cost, measured side by side in one run."""
