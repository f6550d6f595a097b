"""The programs behind bin/ and the console scripts: flags in, calls down, tables and files out."""
