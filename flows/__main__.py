"""`python -m flows` is `stego`."""

from flows.cli.main import main

if __name__ == "__main__":
    main()
