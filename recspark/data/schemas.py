"""The columns of every table in the lake. Ids are ``bigint`` for MovieLens, ``bigint`` or ``string`` for other data."""

#: one row a rating; timestamp in seconds since 1970-01-01 UTC, null where the source has none
RATINGS = "user_id bigint, item_id bigint, rating float, timestamp bigint"
#: demographics as the edition gives them; zip is text, its leading zeros kept
USERS = "user_id bigint, gender string, age int, occupation string, zip string"
#: title without its year
ITEMS = "item_id bigint, title string, year int, genres array<string>, imdb_id string, tmdb_id bigint"
TAGS = "user_id bigint, item_id bigint, tag string, timestamp bigint"
#: every row that was not kept: where it stood (line counts from 1), why, and its text
QUARANTINE = "table string, file string, line bigint, reason string, text string"
#: dense position of an id: 0-based, stable, with the number of ratings behind it
INDEX = "id bigint, position int, count bigint"
