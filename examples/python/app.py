"""Starts the server: python3 app.py"""

from hello.server import main

if __name__ == "__main__":
    main()
