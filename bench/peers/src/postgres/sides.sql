-- A batch, W2 and W4, in one statement: under a key the n-th of one side takes the n-th of the other, and only one side waits.
CREATE OR REPLACE FUNCTION arrive_all(ids bigint[], keys bigint[], sides smallint[], skills int[]) RETURNS void
LANGUAGE sql AS $$
WITH batch AS (
  SELECT * FROM unnest(ids, keys, sides, skills) AS element (id, key, side, skill)
), ranked AS (
  SELECT id, key, side, row_number() OVER (PARTITION BY key, side ORDER BY id) AS rank FROM (
    SELECT id, key, side FROM batch
    UNION ALL
    SELECT id, key, side FROM waiting WHERE key = ANY (keys)
  ) AS present
), paired AS (
  SELECT one.id AS one, other.id AS other FROM ranked AS one JOIN ranked AS other USING (key, rank)
    WHERE one.side = 0 AND other.side = 1
), gone AS (
  DELETE FROM waiting USING (SELECT one AS id FROM paired UNION ALL SELECT other FROM paired) AS taken
    WHERE waiting.id = taken.id
), stays AS (
  INSERT INTO waiting SELECT * FROM batch
    WHERE id NOT IN (SELECT one FROM paired UNION ALL SELECT other FROM paired)
)
INSERT INTO matches SELECT least(one, other), greatest(one, other) FROM paired
$$;
