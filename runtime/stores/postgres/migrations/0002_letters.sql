-- What is asked of a run by way of a process that does not drive it. `posted` goes by this server's clock alone.
CREATE TABLE ringfence_run.letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text NOT NULL,
    content bytea NOT NULL,
    posted timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX letters_of_run ON ringfence_run.letters (run);
