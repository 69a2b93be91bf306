"""Word lists from which acorn's text is made."""

FIRST_NAMES = """Ada Adam Agnes Ahmed Aisha Alan Albert Alex Alice Alma Amara Amelia Amir Amy Ana Andre Andrea Anita
Anna Anton Arjun Arthur Asha Astrid Ava Beatrice Ben Bianca Boris Bruno Camila Carl Carla Carlos Cecilia Celine Chen
Chloe Clara Colin Cora Dana Daniel Daria David Diana Diego Dora Edgar Edith Elena Eli Elif Elias Ella Emil Emily Emma
Eric Erika Esther Ethan Eva Fatima Felix Finn Fiona Flora Frank Freya Gabriel George Gina Grace Greta Hana Hannah
Harry Hassan Hector Heidi Helen Henry Hugo Ian Ibrahim Ida Igor Ines Ingrid Irene Iris Isaac Ivan Ivy Jack Jacob Jade
Jamal James Jan Jana Jasmine Joan Joel John Jonas Jorge Julia Julian June Kai Karen Karim Karl Kate Kenji Kiran Lara
Laura Lea Leila Lena Leo Liam Lila Lily Linda Lisa Lola Lucas Lucia Lucy Luis Luna Mads Maja Malik Marco Maria Marie
Mario Mark Marta Martin Mary Max Maya Mei Mia Mila Milan Mina Mira Mona Nadia Naomi Nell Nia Nico Nina Noah Nora Olga
Olive Oliver Omar Oscar Otis Paula Pedro Peter Petra Pia Priya Quinn Rafael Rahul Ravi Rita Robin Rosa Rosie Ruth Sam
Samir Sara Sasha Selma Sofia Sonia Stella Susan Tanya Tara Theo Tom Tomas Uma Vera Victor Viola Wendy Will Yara Yusuf
Zara Zoe""".split()

LAST_NAMES = """Adler Alvarez Andersson Baker Banerjee Barnes Becker Berg Blake Bloom Brandt Brook Brown Carter
Castillo Chang Clarke Cohen Cole Costa Cruz Dahl Davies Diaz Dubois Evans Falk Farrell Fischer Flores Foss Foster Fox
Frost Garcia Gomez Grant Gray Green Gupta Haas Hale Hansen Hart Hayes Hill Holm Hughes Hunt Ibarra Ito Jensen Johnson
Jones Kaur Keller Khan Kim King Klein Kovacs Kumar Lane Larsen Lee Lind Lopez Lund Marsh Martinez Mason Meyer Miller
Moore Morris Moss Murphy Nakamura Nguyen Nilsson Novak Olsen Ortiz Owens Park Parker Patel Perez Petrov Pope Quist
Ramos Reed Reyes Rivera Roberts Rossi Roth Ruiz Santos Sato Schmidt Shah Shaw Silva Singh Smith Stone Suzuki Tanaka
Taylor Thomas Torres Turner Vega Virtanen Vogel Walker Wang Ward Weber West White Wilson Wolf Wood Wright Yamada
Young Zhang""".split()

TOWNS = """Lisbon Oslo Paris Berlin Madrid Rome Vienna Prague Dublin London Cairo Lagos Nairobi Tokyo Osaka Seoul
Delhi Mumbai Lima Bogota Quito Boston Denver Austin Seattle Toronto Montreal Sydney Perth Helsinki Warsaw Krakow
Athens Zurich Geneva Milan Turin Porto Seville Lyon Bergen Malmo Riga Tallinn Vilnius Hanoi Manila Jakarta Accra
Tunis Dakar Havana Santiago Chicago Houston Dallas Phoenix Miami Atlanta Leeds York Bristol Cardiff Glasgow Munich
Hamburg Cologne Bremen Ghent Antwerp Utrecht Leiden Basel Graz Linz Salzburg Naples Genoa Pisa Venice Nice Nantes
Lille""".split()

TOWN_ENDS = ["ton", "ford", "by", "ville", "berg", "dale", "wick", "stad", "mouth", "field", "ham", "port"]

ONSETS = """b c d f g h j k l m n p r s t v w y z b d f g k l m n p r s t br ch cl cr dr fl fr gl gr kl kr pl pr qu
sh sk sl sn sp st sw th tr tw v w z j""".split()
VOWELS = "a e i o u a e i o u ai au ea ee ei ia ie oa oo ou ya y".split()
CODAS = ["", "", "", "", "", "", *"n r l s t m k d x n r l s ck ll nd ng nt rd rk rn rt sh ss st th".split()]

NOUNS = """acorn anchor apple arrow badge bag ball banana barrel basket bell bench bird blanket boat book boot bottle
bowl box bread brick bridge broom brush bucket button cabin cake camera candle carpet carrot castle cat chain chair
cheese clock cloud coat coin comb compass cork crown cup curtain desk dog donkey door dragon drum duck eagle egg
engine feather fence fiddle fire fish flag flower flute forest fork fox frog garden gate ghost glass glove goat grape
hammer hat hawk hill honey hook horn horse house island jacket jar jewel kettle key kite knife ladder lamp lantern
leaf lemon letter lion lock map marble mask meadow melon mirror mitten moon mouse mug nail needle nest net nut oak
onion orange oven owl paddle paint pan paper peach pear pebble pen pencil pepper piano pie pillow pine plate plum
pocket pond potato pot pumpkin purse puzzle rabbit radio raft rain ribbon ring river robe rock roof rope rose saddle
sail salt sand saw scarf seed shell ship shirt shoe shovel silver sock soup spoon star stick stone stool storm stove
sugar sun sword table tea tent thread ticket tiger tower trail train tray tree trumpet tulip turnip umbrella vase
violin wagon wall watch wheel whistle willow window wolf wool""".split()

ITEMS = """apples blankets books boots bottles bowls candles carrots chairs clocks coats cups desks eggs forks gloves
hammers hats jars kettles keys lamps lemons mugs nails notebooks onions pans pears pencils pens pillows plates pots
radios ropes scarves shirts shoes socks spoons stools tables tents tickets towels trays umbrellas vases watches
""".split()

COLORS = "red blue green yellow black white brown gray orange purple pink silver golden".split()
JOBS = """baker carpenter teacher doctor nurse farmer pilot painter writer plumber singer lawyer chef engineer
gardener librarian sailor tailor dentist potter miner fisher weaver clerk driver judge actor dancer florist architect
""".split()
SPECIES = "dog cat horse rabbit parrot goat donkey turtle hamster duck sheep pony goose ferret".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
EVENTS = """concert meeting workshop wedding lecture picnic market parade dinner exhibition festival tournament
reading rehearsal auction fair party race seminar""".split()
LANGUAGES = "French German Spanish Italian Polish Danish Dutch Finnish Greek Turkish Korean Hindi Swahili Welsh".split()
ADJECTIVES = """old new small big bright quiet lost hidden broken round warm cold heavy light soft strange tiny tall
brave kind clever happy sleepy gentle curious shy proud careful""".split()
ROOMS = "kitchen bedroom hall garage office cellar attic bathroom library garden".split()
DEVICES = ["light", "lamp", "heater", "fan", "radio", "oven", "television", "alarm", "printer", "humidifier"]
CURRENCIES = "USD EUR GBP JPY CHF SEK NOK DKK INR CAD AUD BRL".split()
PROPERTIES = """address altitude author balance birthday budget capital color depth distance email founder height
length license limit manager mass menu motto name number opening_hours owner phone population position price rank
rating result salary schedule score size status street summary temperature title value version volume weight width
wing""".split()

# Words of the invented world's names.
WORLD = """Oakmere Fernhill Mossford Thornby Hazelwick Brackenport Larkdale Stonehaven Willowmere Ashcombe Elderbrook
Nettleton Rookvale Silverrun Lark Amber Willowbeck Old Mill Dunwater Greywash Sedge Cinder Minnow Foxglove Ravenrush
Otto Brambly Greta Pinewood Silas Underhill Nora Fennel Jonas Reedy Ida Clover Hugo Tansy Rosa Thistle Felix Burdock
Maud Sorrel Basil Hawthorn Edda Marigold Pip Larkspur Tilda Moss Bram Oakley Wren Sallow Cedric Dunn Juniper Vale
Magnus Flint Opal Finch Rufus Teasel Sylvie Marsh Tobias Rook Della Quince Button Pepper Cobble Figaro Anchor Ember
Puddle Biscuit Noodle Inkwell Thimble Mount Gable Lake Hollow Whisperwood Queen Isolde Gannet Sea Grandfather Oak
Salt Way Smolder Thursday Leaves Water Alder Grey Acorn Bridge Stemma""".split()
