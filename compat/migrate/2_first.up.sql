INSERT INTO event (id, body) VALUES (1, 'first'); INSERT INTO event (id, body) VALUES (2, 'second');
