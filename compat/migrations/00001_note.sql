-- +goose Up
CREATE TABLE note (id INT PRIMARY KEY, body VARCHAR(100) NOT NULL);

-- +goose Down
DROP TABLE note;
