"""What is known of the data: quality by run and by day, detections by month. Functions of the log and the state."""
