-- One element: takes who has waited longest and is not locked by another worker, or waits.
CREATE OR REPLACE FUNCTION arrive(e_id bigint, e_key bigint, e_side smallint, e_skill int) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE other bigint;
BEGIN
  DELETE FROM waiting WHERE id = (SELECT id FROM waiting WHERE {rule} ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id INTO other;
  IF FOUND THEN
    INSERT INTO matches VALUES (least(other, e_id), greatest(other, e_id));
  ELSE
    INSERT INTO waiting VALUES (e_id, e_key, e_side, e_skill);
  END IF;
END $$;
