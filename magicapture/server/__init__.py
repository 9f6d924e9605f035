"""What serving visitors adds: the accelerator, the queue, jobs, records, their files, the Hub."""
