"""Where everything lies: the lake's folder and names, its commits, its locks."""
