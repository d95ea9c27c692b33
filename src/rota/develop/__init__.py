"""Process 1, ML development: experiments tracked with what is needed to run them again."""
