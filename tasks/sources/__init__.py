"""Images that are no files of a folder: members of archives, and addresses in lists."""
