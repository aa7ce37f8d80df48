-- A batch, W2 and W4, in one statement: under a key the n-th of one side takes the n-th of the other, and only one side
-- waits. The ranks are grouped, not joined with themselves: the planner cannot know how many there are, and would
-- choose a nested loop.
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
  SELECT min(id) AS low, max(id) AS high FROM ranked GROUP BY key, rank HAVING count(*) = 2
), gone AS (
  DELETE FROM waiting USING (SELECT low AS id FROM paired UNION ALL SELECT high FROM paired) AS taken
    WHERE waiting.id = taken.id
), stays AS (
  INSERT INTO waiting SELECT * FROM batch
    WHERE id NOT IN (SELECT low FROM paired UNION ALL SELECT high FROM paired)
)
INSERT INTO matches SELECT low, high FROM paired
$$;
