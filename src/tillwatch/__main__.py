"""`python -m tillwatch` is the program `tillwatch`."""

from tillwatch.cli import main

if __name__ == "__main__":
    main()
