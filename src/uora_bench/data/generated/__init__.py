"""Generated, download-free task data: text that the suite writes itself from small grammars."""
