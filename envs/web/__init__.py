"""World of Bits: forms to fill in, natively by the thousand or in a real browser.

A task is written once (``clicks.py``, ``typing_tasks.py``, ``sites.py``) as a function that lays
out the elements of a page (``model.py``). From its instances come arrays for the compiled batch
(``pool.py``, ``events.py``, ``family.py``) and HTML for the browser (``browser/``).
"""
