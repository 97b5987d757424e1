"""Calibration of step controllers on a family of problems: what work costs at equal error, and a direct search over laws."""
