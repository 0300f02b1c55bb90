-- Earlier runs of a workflow are found by its name, however many others their owner has had since. Text cannot hold
-- the character NUL, so a row that may have one in it is passed over.
ALTER TABLE ringfence_run.runs ADD COLUMN name text NOT NULL DEFAULT '';
UPDATE ringfence_run.runs SET name = convert_from(content, 'UTF8')::json ->> 'name'
    WHERE position('\x5c7530303030'::bytea IN content) = 0;
CREATE INDEX runs_completed ON ringfence_run.runs (user_id, name, created_ms, id) WHERE state = 'completed';
