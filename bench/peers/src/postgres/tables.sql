DROP TABLE IF EXISTS waiting, matches;
CREATE TABLE waiting (id bigint PRIMARY KEY, key bigint NOT NULL, side smallint NOT NULL, skill int NOT NULL);
CREATE TABLE matches (low bigint NOT NULL, high bigint NOT NULL);
