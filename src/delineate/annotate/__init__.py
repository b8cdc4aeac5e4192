"""A local web page to make and correct masks: ``delineate annotate FOLDER``.

``folder`` finds pictures and annotations, ``store`` holds them under revision numbers, ``journal`` puts each edit on
the disk before it is answered, ``saving`` writes the format that the folder has, ``pictures`` serves views and tiles,
``prompts`` answers clicks and boxes, ``server`` and ``routes`` speak HTTP, ``static/`` is the page.
"""
