"""How the text inside `<answer>` is read: characters, tokens, objects, boxes.

    characters   quotes; punctuation and digits of every script -> their ASCII forms
    lexer        text -> strings, words, numbers and marks
    keys         what a key names
    values       the values of a key
    tags         answers whose keys are tags -> the same with keys
    labels       which points are beside the object
    named        boxes and points whose numbers have names
    owners       which points belong to which box
    objects      one object's keys and values -> its boxes, each with its points
    accepting    a closed object -> a value of the key before it, or instances

`scanner.py`, one level up, follows the structure and brings them together.
"""
