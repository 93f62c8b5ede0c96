"""The evaluation sets of GPT-1, GPT-2 and GPT-3: tasks as data, their scores with errors, floors and published ones."""
