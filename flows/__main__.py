"""`python -m flows` is `stego`."""

from flows.cli import main

if __name__ == "__main__":
    main()
