"""Other libraries' interfaces on the solvers of this one."""
