"""Batched Jacobians and linear systems, one matrix per trajectory."""
