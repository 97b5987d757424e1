"""Stiff solvers with adaptive steps and residual networks as Euler integrators, in one loop with one question: how far from here?"""
