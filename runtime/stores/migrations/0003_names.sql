-- Earlier runs of a workflow are found by its name, however many others their owner has had since.
ALTER TABLE runs ADD COLUMN name TEXT NOT NULL DEFAULT '';
UPDATE runs SET name = json_extract(CAST(row AS TEXT), '$.name');
CREATE INDEX runs_completed ON runs (user, name, created_ms, id) WHERE state = 'completed';
