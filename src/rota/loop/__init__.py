"""The loop: events start training, reviews, rollouts and monitoring. `table` is the one text in which the circle is closed."""
