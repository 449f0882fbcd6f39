-- +goose Up
INSERT INTO note (id, body) VALUES (1, 'first');

-- +goose Down
DELETE FROM note WHERE id = 1;
