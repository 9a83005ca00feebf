"""The command line. Importing this package, or asking for help, imports no heavy package."""
