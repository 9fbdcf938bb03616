"""How the text inside `<answer>` is read: characters, tokens, objects, boxes.

    lexer     text -> strings, words, numbers and marks, whatever the quotes and the script
    keys      what a key names
    values    what stands under a key
    tags      answers whose keys are tags -> the same with keys
    labels    which points are beside the object
    named     boxes and points whose numbers have names
    owners    which points belong to which box
    objects   one object's keys and values -> its boxes, each with its points

`scanner.py`, one level up, follows the structure and brings them together.
"""
