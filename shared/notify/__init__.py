"""What a notification says, and the channels that it goes through: a file each."""
