-- A batch, W3, in one statement: of all who are present, in the order of ids, each second takes the one before. At most
-- one waits, and is taken.
CREATE OR REPLACE FUNCTION arrive_all(ids bigint[], keys bigint[], sides smallint[], skills int[]) RETURNS void
LANGUAGE sql AS $$
WITH batch AS (
  SELECT * FROM unnest(ids, keys, sides, skills) AS element (id, key, side, skill)
), ranked AS (
  SELECT id, lead(id) OVER (ORDER BY id) AS next, row_number() OVER (ORDER BY id) AS rank
    FROM (SELECT id FROM batch UNION ALL SELECT id FROM waiting) AS present
), paired AS (
  SELECT id AS low, next AS high FROM ranked WHERE rank % 2 = 1 AND next IS NOT NULL
), gone AS (
  DELETE FROM waiting
), stays AS (
  INSERT INTO waiting SELECT * FROM batch WHERE id = (SELECT id FROM ranked WHERE rank % 2 = 1 AND next IS NULL)
)
INSERT INTO matches SELECT low, high FROM paired
$$;
