-- What is asked of a run by way of a process that does not drive it.
CREATE TABLE letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    text BLOB NOT NULL,
    posted_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX letters_of_run ON letters (run);
