"""Speed and memory on this machine, and scores on measured data with a truth."""
