select t collate from a
