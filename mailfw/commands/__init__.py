"""The console command `mailfw`: one family of commands a file."""
