"""`python -m odebridge` is `odebridge`."""

from odebridge.cli import main

if __name__ == "__main__":
    main()
