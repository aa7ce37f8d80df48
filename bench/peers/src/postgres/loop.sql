-- A batch, W1: whom an element takes depends on whom those before it took, so it is a loop within the server. No other
-- worker has elements of these keys: nothing is locked.
CREATE OR REPLACE FUNCTION arrive_all(ids bigint[], keys bigint[], sides smallint[], skills int[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE other bigint;
BEGIN
  FOR i IN 1..cardinality(ids) LOOP
    DELETE FROM waiting WHERE id = (
        SELECT id FROM waiting WHERE key = keys[i] AND skill BETWEEN skills[i] - 25 AND skills[i] + 25
          ORDER BY id LIMIT 1)
      RETURNING id INTO other;
    IF FOUND THEN
      INSERT INTO matches VALUES (other, ids[i]);
    ELSE
      INSERT INTO waiting VALUES (ids[i], keys[i], sides[i], skills[i]);
    END IF;
  END LOOP;
END $$;
