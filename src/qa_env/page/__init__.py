"""What people look at: the page behind the curtain of an environment that is not live, and the list."""
